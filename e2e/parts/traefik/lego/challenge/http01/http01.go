package http01

import "time"

type ChallengeOption struct{}

func SetDelay(time.Duration) ChallengeOption { return ChallengeOption{} }

func ChallengePath(token string) string { return "/.well-known/acme-challenge/" + token }
