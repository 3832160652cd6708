// Package command moves a route by hooks of the user's own: programs, or requests
// over HTTP, for CDNs, for load balancers that drctl does not know, and for what is
// behind a wall.
//
// A hook is one of read, hold, isolate, point, release and undo. Read and point are
// needed; a route is held and isolated where there are hooks for it. Read answers with
// one line: the region where the route points, or "none", and "held" after it when new
// work waits.
//
// It promises that
//   - a program is started without a shell: {region}, {route} and {was} in its
//     arguments are replaced by plain words, and stay one argument;
//   - a hook ends within its time, with all that it has started; of what it prints 64 KiB
//     are read at most;
//   - secrets get to a program in its environment and to a server in headers, and are
//     blotted out of whatever a hook prints before anybody sees it;
//   - point, release and undo are believed only after read says the same.
//
// It never follows a redirect, and hands no environment on but what it is given.
package command
