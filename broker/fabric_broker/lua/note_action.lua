-- uses: move
-- Leaves an event that says who asked for what; it is written before what was asked for is done.
-- args: by, verb, run ('' if of none), learner ('' if of none or many), target (in words), count. answers: 'ok'.
-- First write: freeing, because a user must be able to act when memory is full; the stream is capped.
begin_freeing()
tell_event(args.learner, args.run, 'asked', '', '', {
  'by', args.by, 'verb', args.verb, 'target', args.target, 'count', int(args.count),
})
return 'ok'
