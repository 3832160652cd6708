// Package route is the part of a configuration that says by which ways clients reach
// the shards and services of a group: types with the grammar's tags, and what must hold
// of a route.
//
// It never connects to anything, and repeats no secret in what it finds wrong.
package route
