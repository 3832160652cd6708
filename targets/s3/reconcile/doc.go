// Package reconcile brings two buckets together that went on separately.
//
// The listings of both are merged in the order of their keys, and with them the manifest of
// what both had when they parted. What one alone has is copied to the other; what one had and
// has no more was deleted there; what both have with different content is a conflict.
//
// It promises that
//   - nothing is overwritten: an object is created only where its key is free, by the server's
//     own word, and a server that does not keep it is refused before anything is copied;
//   - what was copied is read back and has the SHA-256 of what was read;
//   - nothing is deleted unless that is asked for, and then only what is as it was when both parted;
//   - memory grows neither with the number of keys nor with the size of objects;
//   - a call that broke off leaves no half object, and the next one goes on.
//
// Metadata of objects that both have is not compared, and tags are not copied.
package reconcile
