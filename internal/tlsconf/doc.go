// Package tlsconf says how a client proves that a server is the right one: the
// same modes and the same CA files for every kind of server.
//
// It promises TLS 1.2 or later, and that a CA file that cannot be read or holds
// no certificate is an error, never a connection without proof. It never sets
// client certificates and never connects.
package tlsconf
