// Another program, as a shell would run it: its output, its exit status, signals to it.
#ifndef ESPALIER_CLIENT_TESTING_PROCESS_H_
#define ESPALIER_CLIENT_TESTING_PROCESS_H_

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace espalier {

// Every wait gives up after two minutes: the process is killed then.
class Process {
 public:
  // `command[0]` is the program's path; `environment` is added to this process's own.
  explicit Process(const std::vector<std::string>& command,
                   const std::map<std::string, std::string>& environment = {});
  ~Process();  // kills it if it still runs
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Reads until `text` was written to stderr (stdout): false when the process ended without it.
  bool WaitForError(std::string_view text) { return WaitFor(text, files_[1]); }
  bool WaitForOutput(std::string_view text) { return WaitFor(text, files_[0]); }
  void Signal(int signal) const;
  // Reads to the end. The exit status, or minus the signal that ended it.
  int Wait();

  const std::string& out() const { return files_[0].text; }
  const std::string& err() const { return files_[1].text; }

 private:
  struct File {
    int fd = -1;
    std::string text;
  };

  bool WaitFor(std::string_view text, const File& file);
  // Waits for output and takes it; false when both files have ended.
  bool ReadSome();

  pid_t pid_ = -1;
  File files_[2];  // stdout, stderr
};

struct Finished {
  int status = 0;
  std::string out;
  std::string err;
};
Finished RunProcess(const std::vector<std::string>& command,
                    const std::map<std::string, std::string>& environment = {});

}  // namespace espalier

#endif  // ESPALIER_CLIENT_TESTING_PROCESS_H_
