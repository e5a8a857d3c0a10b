// What the program's exit status says to the shell (also in `espalier --help`).
#ifndef ESPALIER_CLIENT_EXIT_CODES_H_
#define ESPALIER_CLIENT_EXIT_CODES_H_

namespace espalier {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
// The command line or the job file is wrong; nothing was started.
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;  // Ctrl-C, as shells have it

}  // namespace espalier

#endif  // ESPALIER_CLIENT_EXIT_CODES_H_
