// Package served says which roles and which named hosts have no worker, and what to
// start. It only looks at what was found out.
package served
