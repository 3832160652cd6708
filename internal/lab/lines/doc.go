// Package lines is the network between the regions of a lab: one line for each server and each place that
// looks at it over a region's border, and the faults of those lines.
//
// A fault is a file in one directory, so it needs nobody who answers, may be planted or taken away twice, and
// is still there when the process that carries the lines dies and is started again. Several at once add up.
//
// It promises that Plant returns only when every line does what the fault says, and that a fault which
// nobody carries out is none. It never touches a server.
package lines
