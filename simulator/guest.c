#include "simulator/guest-private.h"

void ferry_sim_guest_init(FerrySimGuest *g, const FerrySimGuestOps *ops, uint64_t n_pages)
{
    g->ops = ops;
    g->n_pages = n_pages;
    g->n_words = (n_pages + 63) / 64;
    ferry_bitmap_init(&g->dirty, n_pages);
    ferry_bitmap_init(&g->reported, n_pages);
    ferry_bitmap_init(&g->changed, g->n_words);
    ferry_bitmap_set(&g->dirty, 0, n_pages);
    ferry_bitmap_set(&g->changed, 0, g->n_words);
}

void ferry_sim_guest_clear_members(FerrySimGuest *g)
{
    ferry_bitmap_clear(&g->dirty);
    ferry_bitmap_clear(&g->reported);
    ferry_bitmap_clear(&g->changed);
}

uint64_t ferry_sim_guest_pages(const FerrySimGuest *g) { return g->n_pages; }

void ferry_sim_guest_run(FerrySimGuest *g, double until_ns)
{
    g->now_ns = MAX(g->now_ns, until_ns);
}

static void catch_up(FerrySimGuest *g, uint64_t first_word, uint64_t end_word)
{
    g->ops->advance(g);
    if (g->ops->catch_up) {
        g->ops->catch_up(g, first_word, end_word);
    }
}

void ferry_sim_guest_sync(FerrySimGuest *g, FerryBitmap *found)
{
    catch_up(g, 0, g->n_words);
    for (uint64_t i = 0; i < ferry_bitmap_n_words(&g->changed); i++) {
        for (uint64_t left = g->changed.words[i]; left != 0; left &= left - 1) {
            uint64_t word = i * 64 + (unsigned)__builtin_ctzll(left);
            found->words[word] |= g->dirty.words[word] & ~g->reported.words[word];
            g->reported.words[word] = g->dirty.words[word];
        }
        g->changed.words[i] = 0;
    }
}

/* What was not reported stays dirty, and its word has changed. */
void ferry_sim_guest_clear(FerrySimGuest *g, uint64_t first, uint64_t n)
{
    g_assert(first % 64 == 0);
    n = MIN(n, g->n_pages - MIN(first, g->n_pages));
    uint64_t end = (first + n + 63) / 64;

    if (n > 0) {
        catch_up(g, first / 64, end);
    }
    for (uint64_t word = first / 64; word < end; word++) {
        g->dirty.words[word] &= ~g->reported.words[word];
        g->reported.words[word] = 0;
    }
}

void ferry_sim_guest_take(FerrySimGuest *g, void (*take)(void *self, uint64_t word, uint64_t mask),
                          void *self)
{
    catch_up(g, 0, g->n_words);
    for (uint64_t i = 0; i < ferry_bitmap_n_words(&g->changed); i++) {
        for (uint64_t left = g->changed.words[i]; left != 0; left &= left - 1) {
            uint64_t word = i * 64 + (unsigned)__builtin_ctzll(left);
            uint64_t mask = g->dirty.words[word];
            g->dirty.words[word] = 0;
            g->reported.words[word] = 0;
            if (mask != 0) {
                take(self, word, mask);
            }
        }
        g->changed.words[i] = 0;
    }
}

uint64_t ferry_sim_guest_dirty(FerrySimGuest *g, uint64_t first, uint64_t n)
{
    if (n > 0) {
        catch_up(g, first / 64, (first + n - 1) / 64 + 1);
    }
    return ferry_bitmap_count_range(&g->dirty, first, n);
}

void ferry_sim_guest_content(const FerrySimGuest *g, uint64_t page, FerrySimContent *out_content)
{
    g->ops->content(g, page, out_content);
}

gboolean ferry_sim_guest_check(const FerrySimGuest *g, GError **error)
{
    return !g->ops->check || g->ops->check(g, error);
}

gboolean ferry_sim_guest_ended(const FerrySimGuest *g) { return g->ops->ended && g->ops->ended(g); }

unsigned ferry_sim_guest_laps(const FerrySimGuest *g) { return g->ops->laps ? g->ops->laps(g) : 0; }

void ferry_sim_guest_free(FerrySimGuest *g)
{
    if (g) {
        g->ops->free(g);
    }
}
