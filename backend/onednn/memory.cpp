// A pool of buffers. A network's tensors are tens of MB each; asking the system for them anew costs more time in
// page faults than the arithmetic on them. Buffers are cut from large chunks on huge pages, best fit, and merged
// again when given back. Chunks that are entirely free go back to the system once they exceed what the recent past
// needed.
#include "exports.h"
#include <map>
#include <mutex>
#include <set>
#include <sys/mman.h>

static const size_t GRAIN = 4096, HUGE_PAGE = 2 << 20, CHUNK = 32 << 20;

static std::mutex pool_mutex;
struct Piece {
    size_t size;
    bool free, first; // first: starts a chunk
    size_t chunk;     // size of the chunk, where first
};
static std::map<char *, Piece> pieces;                  // every piece, by address
static std::set<std::pair<size_t, char *>> free_pieces; // by size
static size_t mapped = 0, in_use = 0, peak = 0;

static thread_local std::string last_error;
void set_error(const char *message) { last_error = message; }
const char *gogh_error() { return last_error.c_str(); }

static void unmap_free_chunks(size_t target) {
    for (auto it = pieces.begin(); it != pieces.end() && mapped > target;) {
        auto next = std::next(it);
        if (it->second.free && it->second.first && it->second.size == it->second.chunk) {
            munmap(it->first, it->second.chunk);
            mapped -= it->second.chunk;
            free_pieces.erase({it->second.size, it->first});
            pieces.erase(it);
        }
        it = next;
    }
}

static char *map_chunk(size_t size) {
    // Over-allocate to align to a huge page, then return the ends.
    size_t total = size + HUGE_PAGE;
    char *p = (char *)mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    char *aligned = (char *)(((uintptr_t)p + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    if (aligned > p) munmap(p, aligned - p);
    if (p + total > aligned + size) munmap(aligned + size, p + total - aligned - size);
    madvise(aligned, size, MADV_HUGEPAGE);
    return aligned;
}

void *take(size_t bytes) {
    if (bytes > ((size_t)1 << 46)) throw std::bad_alloc();
    size_t size = (bytes + GRAIN - 1) / GRAIN * GRAIN;
    if (size == 0) size = GRAIN;
    std::lock_guard<std::mutex> lock(pool_mutex);
    auto found = free_pieces.lower_bound({size, nullptr});
    if (found == free_pieces.end()) {
        size_t chunk = size < CHUNK ? CHUNK : (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        // Keep what is mapped near the most that was ever in use at once.
        if (in_use + size > peak) peak = in_use + size;
        unmap_free_chunks(peak > chunk ? peak - chunk : 0);
        char *p = map_chunk(chunk);
        if (!p) {
            unmap_free_chunks(0);
            p = map_chunk(chunk);
        }
        if (!p) throw std::bad_alloc();
        mapped += chunk;
        pieces[p] = {chunk, true, true, chunk};
        found = free_pieces.insert({chunk, p}).first;
    }
    char *p = found->second;
    free_pieces.erase(found);
    Piece &piece = pieces[p];
    if (piece.size > size) {
        pieces[p + size] = {piece.size - size, true, false, 0};
        free_pieces.insert({piece.size - size, p + size});
        piece.size = size;
    }
    piece.free = false;
    in_use += size;
    if (in_use > peak) peak = in_use;
    return p;
}

void give(void *pointer) {
    if (!pointer) return;
    std::lock_guard<std::mutex> lock(pool_mutex);
    auto it = pieces.find((char *)pointer);
    if (it == pieces.end() || it->second.free) return;
    in_use -= it->second.size;
    it->second.free = true;
    auto next = std::next(it);
    if (next != pieces.end() && next->second.free && !next->second.first) {
        free_pieces.erase({next->second.size, next->first});
        it->second.size += next->second.size;
        pieces.erase(next);
    }
    if (!it->second.first) {
        auto previous = std::prev(it);
        if (previous->second.free) {
            free_pieces.erase({previous->second.size, previous->first});
            previous->second.size += it->second.size;
            pieces.erase(it);
            it = previous;
        }
    }
    free_pieces.insert({it->second.size, it->first});
}

void *gogh_take(i64 bytes) {
    try {
        return take(bytes);
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}
void gogh_give(void *pointer) { give(pointer); }
// Return every unused chunk to the system and forget the past.
void gogh_trim() {
    std::lock_guard<std::mutex> lock(pool_mutex);
    peak = in_use;
    unmap_free_chunks(0);
}
i64 gogh_mapped() { return mapped; }
i64 gogh_in_use() { return in_use; }
int gogh_block() { return BLOCK; }

int gogh_has_bf16() {
#ifdef __AVX512BF16__
    return 1;
#else
    return 0;
#endif
}
