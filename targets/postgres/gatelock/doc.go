// Package gatelock asks a PostgreSQL server who holds the advisory lock that is a group's gate.
//
// It promises that its questions lock nothing and keep nobody waiting. It never
// takes the lock.
package gatelock
