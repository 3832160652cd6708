// Package storage says where objects are kept, a vault's or a witness's, what a guard is
// told, and what must hold of both. It reads no file and no secret.
package storage
