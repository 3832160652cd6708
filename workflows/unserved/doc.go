// Package unserved words the failure of what no worker took: which queue it waited on,
// for how long, and what serves that queue. It is deterministic, so workflows may use it.
package unserved
