// Package replace lets a data directory that was laid down from a vault take the place of a
// standby's: it says how that is started again, stops it, hands its configuration on, and
// starts the new server.
//
// It promises that a primary is never stopped, and that a configuration which the server
// would refuse is found before anybody promotes. It moves and deletes no directory.
package replace
