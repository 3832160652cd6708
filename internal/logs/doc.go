// Package logs is how every process of drctl logs: one handler, one table of
// keys, and the lines of a child process as lines of one's own.
//
// It promises that
//   - a record is one line, in text or in JSON, with time, level and message;
//   - what a context says of the work (run, shard) is on every record that is
//     logged with the context, once;
//   - a record of a child keeps its time, level, message and attributes, and a
//     line that is no record is kept as text: no line is dropped for its form;
//   - the keys of the engine and of its client become those of the table.
//
// It never reads flags or the environment, and never writes but to the writer
// that it is given.
package logs
