// Package handshake finds out why a TLS server is not talked to. gRPC reports it like
// a server that is down, as something that may pass, with the reason as mere text or
// without one.
package handshake
