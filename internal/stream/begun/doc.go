// Package begun says whether the archive of a base's log reaches back to the base. It
// writes nothing.
package begun
