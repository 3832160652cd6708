// Package haproxy moves a route of HAProxy through its runtime API, over unix or
// TCP sockets, for everything that speaks TCP through it: PostgreSQL, Redis, HTTP.
//
// A region's backend is a server of HAProxy: either one server, whose address is
// changed, or one server for each region, of which one is open and the others are
// in maintenance. Several proxies of one route are changed at the same time.
//
// It promises that
//   - sessions to another server are ended before a new one is opened, so that a
//     proxy that is right has nobody left on the old side;
//   - what it reports was read back with "show servers state" and "show stat".
//
// It never writes HAProxy's configuration: a reload forgets what was changed here,
// unless HAProxy loads its state from a file. Read warns of that. It never holds: a
// frontend that takes no connection more ("set maxconn frontend" to 0) would let clients
// wait in the kernel's queue, but HAProxy 2.6.12 ends in an endless loop and aborts when
// it is opened again while one waits.
package haproxy
