// Package replayconf are the settings of a server that replays log for a restore.
//
// It promises that they meet what the log needs, whatever the source raised later, and
// that the server does nothing by itself. It is pure.
package replayconf
