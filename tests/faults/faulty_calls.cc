// A library to preload (LD_PRELOAD) into a program: system calls that write to files below a folder
// fail, or the program dies in the middle of one. No program of ours knows of it.
//
//   ESPALIER_FAULTY_FOLDER   only files below it
//   ESPALIER_KILL_AT_CALL    the number of the call, from 1, that SIGKILL comes in; a write does
//                            half of its work before
//   ESPALIER_FULL_DISK       as long as this file exists, writes do half of their work and then say
//                            ENOSPC, and nothing new can be made
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

template <typename Function>
Function Next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool Concerns(const std::string& path) {
  static const std::string folder = Variable("ESPALIER_FAULTY_FOLDER");
  return !folder.empty() && path.rfind(folder + "/", 0) == 0;
}

bool Concerns(int fd) {
  char path[PATH_MAX];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t size = readlink(link.c_str(), path, sizeof(path));
  return size > 0 && Concerns(std::string(path, static_cast<size_t>(size)));
}

bool DiskIsFull() {
  static const std::string flag = Variable("ESPALIER_FULL_DISK");
  struct stat status;
  return !flag.empty() && stat(flag.c_str(), &status) == 0;
}

// Counts one call; true when it is the one to die in.
bool IsLast() {
  static const long last = std::atol(Variable("ESPALIER_KILL_AT_CALL").c_str());
  static std::atomic<long> calls{0};
  return ++calls == last;
}

void Die() {
  raise(SIGKILL);
  pause();
}

// Around a call that writes `size` bytes by `write_some`.
template <typename WriteSome>
ssize_t Write(int fd, size_t size, const WriteSome& write_some) {
  if (!Concerns(fd)) return write_some(size);
  if (IsLast()) {
    (void)write_some(size / 2);
    Die();
  }
  if (!DiskIsFull()) return write_some(size);
  const ssize_t some = size > 1 ? write_some(size / 2) : 0;
  if (some > 0) return some;  // a short write; the rest comes again
  errno = ENOSPC;
  return -1;
}

// Around a call that makes something new or moves it.
template <typename Call>
int Change(bool concerns, const Call& call) {
  if (!concerns) return call();
  if (IsLast()) Die();
  if (!DiskIsFull()) return call();
  errno = ENOSPC;
  return -1;
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* data, size_t size) {
  static const auto next = Next<ssize_t (*)(int, const void*, size_t)>("write");
  return Write(fd, size, [&](size_t some) { return next(fd, data, some); });
}

ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
  static const auto next = Next<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite");
  return Write(fd, size, [&](size_t some) { return next(fd, data, some, at); });
}

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t at) {
  static const auto next = Next<ssize_t (*)(int, const void*, size_t, off64_t)>("pwrite64");
  return Write(fd, size, [&](size_t some) { return next(fd, data, some, at); });
}

int fsync(int fd) {
  static const auto next = Next<int (*)(int)>("fsync");
  if (Concerns(fd) && IsLast()) Die();
  return next(fd);
}

int fdatasync(int fd) {
  static const auto next = Next<int (*)(int)>("fdatasync");
  if (Concerns(fd) && IsLast()) Die();
  return next(fd);
}

int ftruncate64(int fd, off64_t size) {
  static const auto next = Next<int (*)(int, off64_t)>("ftruncate64");
  return Change(Concerns(fd), [&] { return next(fd, size); });
}

int rename(const char* from, const char* to) {
  static const auto next = Next<int (*)(const char*, const char*)>("rename");
  return Change(Concerns(std::string(to)), [&] { return next(from, to); });
}

int mkdir(const char* path, mode_t mode) {
  static const auto next = Next<int (*)(const char*, mode_t)>("mkdir");
  return Change(Concerns(std::string(path)), [&] { return next(path, mode); });
}

}  // extern "C"
