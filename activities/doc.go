// Package activities is where a workflow's step meets the world: each
// activity resolves names to instances and vaults, calls one package, beats on
// real progress and encodes the error.
//
// It promises that every activity may be repeated after a crash at any moment,
// and that only ids, positions and reports cross the workflow boundary. It
// never decides an order, and never returns bytes of data or a secret.
package activities
