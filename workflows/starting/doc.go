// Package starting starts one run under an id that is its lock.
package starting
