// Copies to shared memory: what arrives when. Part of emulator.cpp.
//
// A copy may land at any time from its start to the wait for it, so the place holds NaN between the
// two, cannot be accessed under the address sanitizer, and is written at both ends for the race
// detector; the source is read at both, and must not change.

namespace fastloss::emulator {

namespace {

// The array that holds 16 bytes from an address on, a multiple of 16.
SharedArray& array_of(const void* address, const char* what, Site site) {
  const auto* const begin = static_cast<const unsigned char*>(address);
  if (reinterpret_cast<uintptr_t>(address) % 16) {
    fail_thread(std::string(what) + " at a misaligned place", site);
  }
  for (SharedArray& array : current->block->arrays) {
    if (begin >= array.data && begin + 16 <= array.data + array.bytes) return array;
  }
  fail_thread(std::string(what) + " outside shared memory", site);
}

std::vector<bool>::reference under_way(SharedArray& array, const unsigned char* address) {
  return array.under_way[static_cast<size_t>(address - array.data) / 16];
}

void begin(Copy& copy) {
  const auto bytes = static_cast<size_t>(copy.bytes);
  note_read(copy.global, bytes);
  copy_bytes(copy.source, copy.global, bytes);
  note_write(copy.shared, 16);
  fill_bytes(copy.shared, 0xff, 16);
  poison(copy.shared, 16);
}

void end(const Copy& copy) {
  const auto bytes = static_cast<size_t>(copy.bytes);
  unsigned char now[16] = {};
  note_read(copy.global, bytes);
  copy_bytes(now, copy.global, bytes);
  for (size_t i = 0; i < bytes; ++i) {
    if (now[i] != copy.source[i]) fail_thread("the source of a copy under way changed", copy.site);
  }
  unpoison(copy.shared, 16);
  note_write(copy.shared, 16);
  copy_bytes(copy.shared, now, 16);
  under_way(array_of(copy.shared, "a copy", copy.site), copy.shared) = false;
}

}  // namespace

}  // namespace fastloss::emulator

namespace fastloss::device {

void copy_async(void* shared, const void* global, int bytes, Site site) {
  Thread& thread = running(site);
  if (bytes < 0 || bytes > 16) fail_thread("a copy of other than 0 to 16 bytes", site);
  if (reinterpret_cast<uintptr_t>(global) % 16) fail_thread("a copy from a misaligned place", site);
  SharedArray& array = array_of(shared, "a copy to shared memory", site);
  Copy copy{static_cast<unsigned char*>(shared),
            static_cast<const unsigned char*>(global),
            bytes,
            thread.group,
            {},
            site};
  if (under_way(array, copy.shared)) fail_thread("two copies under way to one place", site);
  under_way(array, copy.shared) = true;
  begin(copy);
  on_host([&] { thread.copies.push_back(copy); });
}

void commit_copies(Site site) { ++running(site).group; }

void detail::wait_copies(int pending, Site site) {
  Thread& thread = running(site);
  resume(thread);
  wait();  // others run meanwhile
  std::vector<Copy>& copies = thread.copies;
  size_t ended = 0;
  while (ended < copies.size() && copies[ended].group < thread.group - pending) {
    end(copies[ended++]);
  }
  if (ended) on_host([&] { copies.erase(copies.begin(), copies.begin() + ended); });
}

}  // namespace fastloss::device
