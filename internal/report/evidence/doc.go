// Package evidence is the record that a drill leaves behind: plain data, its
// canonical JSON and the hash by which two copies are compared.
//
// It promises that a field which nobody recorded says so, with the reason
// (Maybe), that the hash covers every member of the JSON but the hash itself
// and the review to be filled in later, and that Verify needs nothing but the
// bytes. It never fills in what it does not know, never claims compliance, and
// does no I/O. The hash shows that a copy was not changed after somebody else
// noted the hash; it is not a signature and proves nothing about who wrote it.
//
// Durations are nanoseconds (members that end in _ns), instants are UTC in
// RFC 3339, hashes are SHA-256 in lower-case hex.
package evidence
