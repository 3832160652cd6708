// Package replace lets what was laid down from a vault take the place of a Redis replica: it
// says how that is started again, stops it with all that it has on its disk, makes its
// configuration that of a master which reads what was laid down, and starts it.
//
// It promises that a master is never stopped, and that a server which came up with another
// directory, as a replica, or with other files than those that were laid down is an error
// before anybody is sent to it. It moves and deletes no directory.
package replace
