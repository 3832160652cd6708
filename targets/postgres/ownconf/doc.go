// Package ownconf takes a data directory's own configuration over a restore: it
// is set aside while the server recovers, put back, and made to listen where the
// restored server will be reached. It promises that options on a server's command
// line still come before what it writes. It starts no server.
package ownconf
