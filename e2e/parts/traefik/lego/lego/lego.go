// Package lego stands in for the ACME client that Traefik links. No cluster of ours can reach a certificate
// authority, and the real one brings more than a hundred SDKs of DNS services, most of Traefik's build time.
// This module has only the names that Traefik v3.6.12 uses; whoever configures a certificate resolver is told so.
package lego

import (
	"crypto/x509"
	"errors"
	"net/http"

	"github.com/go-acme/lego/v4/certcrypto"
	"github.com/go-acme/lego/v4/certificate"
	"github.com/go-acme/lego/v4/challenge"
	"github.com/go-acme/lego/v4/challenge/dns01"
	"github.com/go-acme/lego/v4/challenge/http01"
	"github.com/go-acme/lego/v4/challenge/tlsalpn01"
	"github.com/go-acme/lego/v4/registration"
)

const LEDirectoryProduction = "https://acme-v02.api.letsencrypt.org/directory"

var errNone = errors.New("this Traefik was built without ACME")

type Config struct {
	CADirURL    string
	User        any
	UserAgent   string
	HTTPClient  *http.Client
	Certificate CertificateConfig
}

type CertificateConfig struct {
	KeyType           certcrypto.KeyType
	DisableCommonName bool
}

func NewConfig(user any) *Config { return &Config{User: user, HTTPClient: http.DefaultClient} }

func CreateCertPool([]string, bool) (*x509.CertPool, error) { return nil, errNone }

// Client is never made; its fields only let Traefik compile.
type Client struct {
	Certificate  certifier
	Challenge    solvers
	Registration registrar
}

func NewClient(*Config) (*Client, error) { return nil, errNone }

type certifier struct{}

func (certifier) Obtain(certificate.ObtainRequest) (*certificate.Resource, error) {
	return nil, errNone
}
func (certifier) RenewWithOptions(certificate.Resource, *certificate.RenewOptions) (*certificate.Resource, error) {
	return nil, errNone
}

type solvers struct{}

func (solvers) SetDNS01Provider(challenge.Provider, ...dns01.ChallengeOption) error   { return errNone }
func (solvers) SetHTTP01Provider(challenge.Provider, ...http01.ChallengeOption) error { return errNone }
func (solvers) SetTLSALPN01Provider(challenge.Provider, ...tlsalpn01.ChallengeOption) error {
	return errNone
}

type registrar struct{}

func (registrar) Register(registration.RegisterOptions) (*registration.Resource, error) {
	return nil, errNone
}
func (registrar) RegisterWithExternalAccountBinding(registration.RegisterEABOptions) (*registration.Resource, error) {
	return nil, errNone
}
