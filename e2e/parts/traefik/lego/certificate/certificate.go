package certificate

type Resource struct {
	Domain      string
	PrivateKey  []byte
	Certificate []byte
}

type ObtainRequest struct {
	Domains        []string
	MustStaple     bool
	EmailAddresses []string
	Bundle         bool
	PreferredChain string
	Profile        string
}

type RenewOptions struct {
	MustStaple     bool
	EmailAddresses []string
	Bundle         bool
	PreferredChain string
	Profile        string
}
