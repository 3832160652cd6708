// Package receiver asks a standby what its receiver knows of the primary: how far that has
// come, and whether bytes still come.
package receiver
