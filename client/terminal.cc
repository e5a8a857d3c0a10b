#include "client/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace espalier {
namespace {

std::string_view Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

bool StderrIsTerminal() { return isatty(STDERR_FILENO) == 1 && Environment("TERM") != "dumb"; }

int64_t StderrWidth() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

bool StderrHasColour() { return StderrIsTerminal() && Environment("NO_COLOR").empty(); }

}  // namespace espalier
