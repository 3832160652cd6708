// Package chunk is the header that a chunk of archived log carries.
//
// It promises that what is written here is read here: the chunk's place, when its
// bytes came, and that a header of another place is found out.
//
// It opens nothing: it reads what it is given.
package chunk
