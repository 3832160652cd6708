// Package setup makes the tables, the first rows and the bucket of a shop.
//
// It promises that it may be repeated: what is there stays as it is. It never takes
// anything away.
package setup
