// Package route53 moves a name: the records of a zone of Amazon Route 53.
//
// It promises that
//   - all records of a route change in one batch: all or none;
//   - a record is changed only where what it holds is of a region of the route: what
//     somebody else has put there is refused;
//   - Point and Undo return when every server of Route 53 answers with the change.
//
// It never makes or deletes a record, and never touches one with a routing policy or
// an alias. Names cannot be held, and nobody can be kept from an address that a
// resolver has cached: clients may go on to use the old one for the record's TTL, and
// longer where a resolver or a program ignores it.
package route53
