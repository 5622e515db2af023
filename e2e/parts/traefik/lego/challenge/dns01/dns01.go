package dns01

import (
	"strings"
	"time"
)

type ChallengeOption struct{}

func AddRecursiveNameservers([]string) ChallengeOption               { return ChallengeOption{} }
func DisableAuthoritativeNssPropagationRequirement() ChallengeOption { return ChallengeOption{} }
func PropagationWait(time.Duration, bool) ChallengeOption            { return ChallengeOption{} }
func RecursiveNSsPropagationRequirement() ChallengeOption            { return ChallengeOption{} }

// UnFqdn is real: Traefik cleans host names of ordinary TLS configuration with it.
func UnFqdn(name string) string { return strings.TrimSuffix(name, ".") }
