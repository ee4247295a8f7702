-- Append one chunk of event lines and say how much the sequencer still has before it.
return append_lines(KEYS[1], KEYS[2], ARGV[1], ARGV[2]) -- events, state; the field's name: contract/entries.py
