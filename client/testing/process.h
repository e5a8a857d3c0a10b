// Another program, as a shell would run it: its output, its exit status, signals to it.
#ifndef ESPALIER_CLIENT_TESTING_PROCESS_H_
#define ESPALIER_CLIENT_TESTING_PROCESS_H_

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common/mutex.h"

namespace espalier {

// A thread takes what the process writes, so that it never waits for this one. Every wait gives up
// after two minutes without output: the process is killed then.
class Process {
 public:
  // `command[0]` is the program's path; `environment` is added to this process's own; it runs in
  // `folder`, or in this process's own.
  explicit Process(const std::vector<std::string>& command,
                   const std::map<std::string, std::string>& environment = {},
                   const std::string& folder = "");
  ~Process();  // kills it if it still runs
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Until `text` was written to stderr (stdout), `from` so many bytes on: false when the process
  // ended without it.
  bool WaitForError(std::string_view text, size_t from = 0) { return WaitFor(text, from, 1); }
  bool WaitForOutput(std::string_view text, size_t from = 0) { return WaitFor(text, from, 0); }
  void Signal(int signal) const;
  // Until its end. The exit status, or minus the signal that ended it.
  int Wait();

  pid_t pid() const { return pid_; }
  // So far.
  std::string out() const { return Text(0); }
  std::string err() const { return Text(1); }

 private:
  struct File {
    int fd = -1;
    std::string text;
  };

  bool WaitFor(std::string_view text, size_t from, int file) ABSL_LOCKS_EXCLUDED(mutex_);
  std::string Text(int file) const ABSL_LOCKS_EXCLUDED(mutex_);
  void ReadAll() ABSL_LOCKS_EXCLUDED(mutex_);
  // False when both files have ended.
  bool ReadSome(const int (&fds)[2]) ABSL_LOCKS_EXCLUDED(mutex_);
  // False, with a failure and the process killed, when nothing is written for too long.
  bool WaitForMore() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  pid_t pid_ = -1;
  mutable Mutex mutex_;
  CondVar changed_;
  File files_[2] ABSL_GUARDED_BY(mutex_);  // stdout, stderr
  std::thread reader_;
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
