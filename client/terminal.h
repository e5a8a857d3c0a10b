// What this process's stderr is: a terminal of some width, or a file or pipe.
#ifndef ESPALIER_CLIENT_TERMINAL_H_
#define ESPALIER_CLIENT_TERMINAL_H_

#include <cstdint>

namespace espalier {

// A terminal that understands cursor movements (TERM is not "dumb").
bool StderrIsTerminal();
// 80 when the terminal does not say.
int64_t StderrWidth();
// Colours are wanted: a terminal, and NO_COLOR unset or empty (no-color.org).
bool StderrHasColour();

}  // namespace espalier

#endif  // ESPALIER_CLIENT_TERMINAL_H_
