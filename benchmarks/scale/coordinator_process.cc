#include "benchmarks/scale/coordinator_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace espalier::scale {
namespace {

namespace fs = std::filesystem;

double StatusMebibytes(pid_t pid, const std::string& key) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  std::string line;
  while (std::getline(status, line)) {
    if (absl::StartsWith(line, key)) return std::stod(line.substr(key.size())) / 1024;
  }
  return 0;
}

bool IsConnectionTo(int fd, int port) {
  sockaddr_in peer{};
  socklen_t size = sizeof(peer);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return false;
  if (peer.sin_family == AF_INET) return ntohs(peer.sin_port) == port;
  // gRPC uses IPv6 sockets for IPv4 too; the port is at the same place.
  return peer.sin_family == AF_INET6 && ntohs(peer.sin_port) == port;
}

}  // namespace

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  (void)bind(fd, reinterpret_cast<sockaddr*>(&address), size);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  close(fd);
  return ntohs(address.sin_port);
}

absl::Status CoordinatorProcess::Start() {
  std::vector<std::string> words = {options_.program,
                                    "--listen",
                                    absl::StrCat("127.0.0.1:", options_.port),
                                    "--status-listen",
                                    absl::StrCat("127.0.0.1:", options_.status_port),
                                    "--state",
                                    (options_.folder / "state").string(),
                                    "--lease-ms",
                                    absl::StrCat(options_.lease_ms)};
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO,
                                   (options_.folder / "coordinator.log").c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0644);
  const int error =
      posix_spawn(&pid_, options_.program.c_str(), &files, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (error == 0) return absl::OkStatus();
  pid_ = 0;
  return absl::NotFoundError(absl::StrCat(options_.program, ": ", std::strerror(error),
                                          "; build espalier-coordinator or give --coordinator"));
}

void CoordinatorProcess::Kill() {
  if (pid_ == 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

double CoordinatorProcess::CpuSeconds() const {
  std::ifstream stat(absl::StrCat("/proc/", pid_, "/stat"));
  std::stringstream text;
  text << stat.rdbuf();
  // Fields are counted from behind the program's name, which may contain spaces.
  std::istringstream fields(text.str().substr(text.str().rfind(')') + 1));
  std::string field;
  double ticks = 0;
  for (int i = 3; i <= 15 && fields >> field; ++i) {
    if (i >= 14) ticks += std::stod(field);
  }
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double CoordinatorProcess::ResidentMebibytes() const { return StatusMebibytes(pid_, "VmRSS:"); }

double CoordinatorProcess::MostResidentMebibytes() const { return StatusMebibytes(pid_, "VmHWM:"); }

WireBytes CountWireBytes(int port) {
  WireBytes sum;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    const int fd = std::stoi(entry.path().filename().string());
    tcp_info info{};
    socklen_t size = sizeof(info);
    if (!IsConnectionTo(fd, port)) continue;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) continue;
    sum.up += static_cast<int64_t>(info.tcpi_bytes_acked);
    sum.down += static_cast<int64_t>(info.tcpi_bytes_received);
  }
  return sum;
}

}  // namespace espalier::scale
