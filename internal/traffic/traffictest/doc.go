// Package traffictest is the suite that every driver of routes passes, with real
// proxies and real clients: what a route promises when all is well, when a part of it
// does not answer, when it is half changed, when its caller is killed in the middle,
// and when everything is said twice.
//
// It only believes clients: where a route leads is what a client sees that connects.
package traffictest
