// Package told logs the problems of a platform when they begin, change and end.
package told
