// A program of programs/ with a main of its own, for mutants.py: fewer losses and types, the same
// checks. `auto` makes a template of the program's own main, which is never instantiated.
#pragma once

#define main() whole_program(auto)
