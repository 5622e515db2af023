package log

// Logger is set by Traefik and used by nobody.
var Logger any
