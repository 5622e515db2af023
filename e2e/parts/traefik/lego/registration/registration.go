package registration

type Resource struct {
	Body struct{} `json:"body"`
	URI  string   `json:"uri,omitempty"`
}

type RegisterOptions struct{ TermsOfServiceAgreed bool }

type RegisterEABOptions struct {
	TermsOfServiceAgreed bool
	Kid                  string
	HmacEncoded          string
}
