// Package s3 teaches drctl object stores: any S3 endpoint, with or without
// versioning.
//
// An object store has no log, so there is no base and no stream. A snapshot is a manifest of every
// object as of an instant (JSON lines sorted by key, see manifest.Entry), and the objects, stored
// once under their own SHA-256. A snapshot moves only what changed since the last manifest.
//
// It promises that
//   - memory does not grow with the number of keys or the size of objects;
//   - a snapshot names no object whose content is not stored;
//   - no object of another version than the listed one is stored under its name;
//   - Restore writes only into an absent or empty bucket unless told otherwise. Every byte is
//     checked against its SHA-256 before the object appears.
//
// "As of" means, with versioning: the newest version at or before the instant, by the server's LastModified.
// Deletions after it are undone. LastModified may be cut to whole seconds, and clocks differ. So
// the choice leans to what is harmless, a surplus object:
//   - a key that has no version at the instant, but one within Slack after it, is included;
//   - a deletion counts only when it is at least Slack before the instant;
//   - of two versions of one key within Slack of the instant either may be taken;
//   - a skew that the Date header proves (more than Slack) is compensated.
//
// Without versioning, a snapshot holds what each object was when it was read, at or after the
// instant. Objects overwritten or deleted since then are lost to it. So are objects that were
// written while versioning is suspended: the newest stands for them.
//
// XML cannot hold every character, and a server that lists keys as they are shows some of them as
// U+FFFD. An object whose key is not known can be neither read nor restored: a snapshot leaves it
// out, counts it and says so.
//
// It keeps content, content type, user metadata and the cache, encoding, language, disposition and
// expiry headers. It does not keep tags, access control lists, storage classes, website redirects,
// retention locks, an expiry header that is no date, or older versions. A restore lists what of
// these the server told when the object was read (access control lists it does not tell).
package s3
