// Package claim keeps the marks of a restore into a directory: Claim says that
// the directory is half-written and may be written again, Done that a restore
// into it has finished and left it as it is.
//
// It promises that a mark is durable before what it permits happens, and that
// a directory which has changed, been replaced or never been claimed is not
// taken for the restore's own. It never removes data.
package claim
