//===- States.cpp - Memory that lives between the calls of an entry -------===//
//
// Part of Ferrite, under Apache-2.0 WITH LLVM-exception.
//
// Kernels of a step entry follow the numbers of slots and pages into the
// states. All of them are looked at here, before each run: they come from the
// caller.
//
//===----------------------------------------------------------------------===//
#include "core/Session.h"

#include <stdio.h>

using namespace ferrite::rt;

/// For %lld: int64_t is `long` here.
static long long ll(int64_t value) { return value; }

/// Binds states [first, first + count).
static FerriteStatus bind(FerriteSession &session, size_t first, size_t count,
                          void *const *bases, int64_t pages,
                          FerriteError *error) {
  if (count && !bases)
    return fail(error, FERRITE_INVALID_ARGUMENT, "the bases are NULL");
  if (pages < 0 || (count && pages == 0))
    return fail(error, FERRITE_INVALID_ARGUMENT, "%lld pages", ll(pages));
  const FerriteAbiState *states = session.entry->states + first;
  for (size_t i = 0; i < count; ++i) {
    // Half of the address space: no product of a later check overflows.
    if (pages > (INT64_C(1) << 46) / states[i].page_bytes)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "state '%s': %lld pages of %lld bytes are larger than any "
                  "memory",
                  states[i].name, ll(pages), ll(states[i].page_bytes));
    if (!bases[i] || reinterpret_cast<uintptr_t>(bases[i]) % lineBytes)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "the memory of state '%s' at %p is not aligned to %zu bytes",
                  states[i].name, bases[i], lineBytes);
  }
  session.prepared = false;
  for (size_t i = 0; i < count; ++i) {
    session.statePages[states[i].group] = pages;
    session.states[first + i] = bases[i];
  }
  return FERRITE_OK;
}

FerriteStatus ferriteSessionBindStates(FerriteSession *session,
                                       void *const *bases, size_t count,
                                       int64_t pages, FerriteError *error) {
  Use use(session, error);
  if (use.status)
    return use.status;
  const FerriteAbiEntry &entry = *session->entry;
  if (count != entry.state_count)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "%zu states: the entry '%s' has %u", count, entry.name,
                entry.state_count);
  return bind(*session, 0, count, bases, pages, error);
}

FerriteStatus ferriteSessionBindGroup(FerriteSession *session, int32_t group,
                                      void *const *bases, size_t count,
                                      int64_t pages, FerriteError *error) {
  Use use(session, error);
  if (use.status)
    return use.status;
  const FerriteAbiEntry &entry = *session->entry;
  size_t first = 0, found = 0;
  for (uint32_t i = 0; i < entry.state_count; ++i)
    if (entry.states[i].group == group && found++ == 0)
      first = i;
  if (count != found || !count)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "%zu states of group %d: the entry '%s' has %zu", count, group,
                entry.name, found);
  return bind(*session, first, count, bases, pages, error);
}

namespace {
/// The inputs of a step entry, whose types and ranks checkTables has seen.
struct Step {
  explicit Step(const FerriteSession &session) : session(session) {}
  template <typename T>
  const T *data(const char *name, int dim = 0) {
    const FerriteAbiEntry &entry = *session.entry;
    for (uint32_t i = 0; i < entry.input_count; ++i)
      if (strcmp(entry.inputs[i].name, name) == 0) {
        const FerriteTensor &tensor = *session.boundInputs[i];
        size = tensor.shape[dim];
        return static_cast<const T *>(session.seenInputs[i]);
      }
    return nullptr; // checkTables refuses such an entry
  }
  const FerriteSession &session;
  int64_t size = 0; ///< of what was asked for last
};
} // namespace

/// The tokens that every state of a group forgets: none where one sees all.
static int64_t widestWindow(const FerriteAbiEntry &entry, int32_t group) {
  int64_t widest = 0;
  for (uint32_t i = 0; i < entry.state_count; ++i) {
    if (entry.states[i].group != group)
      continue;
    if (entry.states[i].window < 0)
      return INT64_MAX;
    if (entry.states[i].window > widest)
      widest = entry.states[i].window;
  }
  return widest;
}

/// Pages at the beginning that states of a group read whatever their windows.
static int64_t pagesOfSinks(const FerriteAbiEntry &entry, int32_t group) {
  int64_t most = 0;
  for (uint32_t i = 0; i < entry.state_count; ++i)
    if (entry.states[i].group == group && entry.states[i].sinks > most)
      most = entry.states[i].sinks;
  return (most + FERRITE_PAGE_TOKENS - 1) / FERRITE_PAGE_TOKENS;
}

/// The slots and pages of a group; names of its inputs.
static FerriteStatus checkPages(const FerriteSession &session, Step step,
                                int32_t group, const char *slotName,
                                const char *tableName, FerriteError *error) {
  const auto *slots = step.data<int64_t>(slotName);
  int64_t tokens = step.size;
  const auto *contexts = step.data<int32_t>("contexts");
  int64_t runs = step.size;
  const auto *begins = step.data<int32_t>("run_begins");
  const auto *tables = step.data<int32_t>(tableName, 1);
  int64_t width = step.size;
  int64_t window = widestWindow(*session.entry, group);
  int64_t sinks = pagesOfSinks(*session.entry, group);
  int64_t pages = session.statePages[group];
  for (int64_t i = 0; i < tokens; ++i)
    if (slots[i] < 0 || slots[i] / FERRITE_PAGE_TOKENS >= pages)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "'%s' holds %lld at [%lld], outside of %lld pages of %d",
                  slotName, ll(slots[i]), ll(i), ll(pages),
                  FERRITE_PAGE_TOKENS);
  for (int64_t r = 0; r < runs; ++r) {
    int64_t length = int64_t(begins[r + 1]) - begins[r];
    int64_t context = contexts[r], end = context + length;
    if (end > width * FERRITE_PAGE_TOKENS)
      return fail(
          error, FERRITE_INVALID_ARGUMENT,
          "run %lld: %lld tokens behind %lld do not fit into %lld pages "
          "of its table",
          ll(r), ll(length), ll(context), ll(width));
    if (length == 0)
      continue;
    int64_t first = context - window + 1;
    first = window > context ? 0 : first / FERRITE_PAGE_TOKENS;
    for (int64_t p = sinks > 0 ? 0 : first; p * FERRITE_PAGE_TOKENS < end;
         ++p) {
      if (p >= sinks && p < first)
        continue;
      int32_t page = tables[r * width + p];
      if (page < 0 || page >= pages)
        return fail(error, FERRITE_INVALID_ARGUMENT,
                    "'%s' holds %d at [%lld, %lld], outside of %lld pages",
                    tableName, page, ll(r), ll(p), ll(pages));
    }
  }
  return FERRITE_OK;
}

static FerriteStatus checkRuns(const FerriteSession &session, Step step,
                               FerriteError *error) {
  step.data<int64_t>("slots");
  int64_t tokens = step.size;
  const auto *contexts = step.data<int32_t>("contexts");
  int64_t runs = step.size;
  const auto *begins = step.data<int32_t>("run_begins");
  if (step.size != runs + 1)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "'run_begins' has %lld elements, for %lld runs it needs %lld",
                ll(step.size), ll(runs), ll(runs + 1));
  const auto *visible = step.data<int64_t>("visible");
  if (begins[0] != 0 || begins[runs] != tokens)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "'run_begins' goes from %d to %d, the tokens from 0 to %lld",
                begins[0], begins[runs], ll(tokens));
  for (int64_t r = 0; r < runs; ++r) {
    int64_t length = int64_t(begins[r + 1]) - begins[r];
    if (length < 0)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "'run_begins' falls from %d to %d at [%lld]", begins[r],
                  begins[r + 1], ll(r + 1));
    if (contexts[r] < 0)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "'contexts' holds %d at [%lld]", contexts[r], ll(r));
    if (length <= 64)
      continue;
    for (int64_t t = begins[r]; t < begins[r + 1]; ++t)
      if (visible[t])
        return fail(
            error, FERRITE_INVALID_ARGUMENT,
            "'visible' holds a mask at [%lld], of a run of %lld tokens: "
            "the most is 64",
            ll(t), ll(length));
  }
  bool hasGroup[stateGroups] = {};
  for (uint32_t i = 0; i < session.entry->state_count; ++i)
    hasGroup[session.entry->states[i].group] = true;
  hasGroup[FERRITE_STATE_OWN] = true;
  for (int32_t g = FERRITE_STATE_OWN; g < stateGroups; ++g) {
    char slots[16] = "slots", tables[24] = "page_tables";
    if (g == FERRITE_STATE_SOURCE || !hasGroup[g])
      continue;
    if (g != FERRITE_STATE_OWN) {
      snprintf(slots, sizeof slots, "slots_%d", g);
      snprintf(tables, sizeof tables, "page_tables_%d", g);
    }
    if (FerriteStatus status =
            checkPages(session, step, g, slots, tables, error))
      return status;
  }
  return FERRITE_OK;
}

static const char *const chosenPrefixes[chosenKinds] = {
    "layer_rows_", "layer_runs_", "layer_begins_"};

const char *ferrite::rt::chosenSuffix(const char *name, int32_t *kind) {
  for (int32_t k = 0; k < chosenKinds; ++k)
    if (strncmp(name, chosenPrefixes[k], strlen(chosenPrefixes[k])) == 0) {
      *kind = k;
      return name + strlen(chosenPrefixes[k]);
    }
  return nullptr;
}

/// The runs that go through a block of layers: each once, with all its tokens.
static FerriteStatus checkChosen(Step step, const char *of,
                                 FerriteError *error) {
  char names[chosenKinds][32];
  for (int32_t k = 0; k < chosenKinds; ++k)
    snprintf(names[k], sizeof names[k], "%s%.15s", chosenPrefixes[k], of);
  step.data<int32_t>("contexts");
  int64_t runs = step.size;
  const auto *begins = step.data<int32_t>("run_begins");
  const auto *rows = step.data<int64_t>(names[chosenRows]);
  int64_t rowCount = step.size;
  const auto *chosen = step.data<int64_t>(names[chosenRuns]);
  int64_t count = step.size;
  const auto *own = step.data<int32_t>(names[chosenBegins]);
  if (step.size != count + 1)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "'%s' has %lld elements, for %lld runs it needs %lld",
                names[chosenBegins], ll(step.size), ll(count), ll(count + 1));
  int64_t row = 0, before = -1;
  for (int64_t i = 0; i < count; ++i) {
    if (chosen[i] <= before || chosen[i] >= runs)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "'%s' holds %lld at [%lld]: it must ascend, within %lld runs",
                  names[chosenRuns], ll(chosen[i]), ll(i), ll(runs));
    before = chosen[i];
    if (own[i] != row)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "'%s' holds %d at [%lld] and not %lld, where its run begins",
                  names[chosenBegins], own[i], ll(i), ll(row));
    for (int64_t t = begins[before]; t < begins[before + 1]; ++t, ++row)
      if (row >= rowCount || rows[row] != t)
        return fail(error, FERRITE_INVALID_ARGUMENT,
                    "'%s' does not hold %lld at [%lld], a token of run %lld",
                    names[chosenRows], ll(t), ll(row), ll(before));
  }
  if (row != rowCount || own[count] != rowCount)
    return fail(error, FERRITE_INVALID_ARGUMENT,
                "'%s' has %lld elements and '%s' ends with %d: the runs have "
                "%lld tokens",
                names[chosenRows], ll(rowCount), names[chosenBegins],
                own[count], ll(row));
  return FERRITE_OK;
}

static FerriteStatus checkLayers(const FerriteSession &session, Step step,
                                 FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  for (uint32_t i = 0; i < entry.input_count; ++i) {
    int32_t kind = -1;
    const char *of = chosenSuffix(entry.inputs[i].name, &kind);
    if (of && kind == chosenRows)
      if (FerriteStatus status = checkChosen(step, of, error))
        return status;
  }
  return FERRITE_OK;
}

/// The sources that runs read; an entry without has no such inputs.
static FerriteStatus checkSources(const FerriteSession &session, Step step,
                                  FerriteError *error) {
  const auto *lengths = step.data<int32_t>("source_lengths");
  if (!lengths)
    return FERRITE_OK;
  int64_t runs = step.size, pages = session.statePages[FERRITE_STATE_SOURCE];
  const auto *tables = step.data<int32_t>("source_tables", 1);
  int64_t width = step.size;
  for (int64_t r = 0; r < runs; ++r) {
    if (lengths[r] < 0 || lengths[r] > width * FERRITE_PAGE_TOKENS)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "'source_lengths' holds %d at [%lld]: it must fit into %lld "
                  "pages of its table",
                  lengths[r], ll(r), ll(width));
    for (int64_t p = 0; p * FERRITE_PAGE_TOKENS < lengths[r]; ++p) {
      int32_t page = tables[r * width + p];
      if (page < 0 || page >= pages)
        return fail(error, FERRITE_INVALID_ARGUMENT,
                    "'source_tables' holds %d at [%lld, %lld], outside of %lld "
                    "pages",
                    page, ll(r), ll(p), ll(pages));
    }
  }
  return FERRITE_OK;
}

/// The runs that are weighed; an entry that weighs none has no such inputs.
static FerriteStatus checkWeighed(Step step, FerriteError *error) {
  step.data<int32_t>("contexts");
  int64_t runs = step.size;
  const auto *begins = step.data<int32_t>("run_begins");
  const auto *tokens = step.data<int32_t>("weigh_tokens");
  const auto *weighed = step.data<int64_t>("weigh_runs");
  for (int64_t i = 0; weighed && i < step.size; ++i) {
    if (weighed[i] < 0 || weighed[i] >= runs)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "'weigh_runs' holds %lld at [%lld], outside of %lld runs",
                  ll(weighed[i]), ll(i), ll(runs));
    int64_t length = int64_t(begins[weighed[i] + 1]) - begins[weighed[i]];
    if (tokens[i] < 0 || tokens[i] > length)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "'weigh_tokens' holds %d at [%lld], of a run of %lld tokens",
                  tokens[i], ll(i), ll(length));
  }
  return FERRITE_OK;
}

FerriteStatus ferrite::rt::checkStates(const FerriteSession &session,
                                       FerriteError *error) {
  const FerriteAbiEntry &entry = *session.entry;
  for (uint32_t i = 0; i < entry.state_count; ++i)
    if (!session.statePages[entry.states[i].group])
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "the entry '%s' keeps a state between calls: bind its memory "
                  "first (ferriteSessionBindStates)",
                  entry.name);
  if (entry.role != FERRITE_ENTRY_STEP)
    return FERRITE_OK;
  Step step(session);
  if (FerriteStatus status = checkRuns(session, step, error))
    return status;
  if (FerriteStatus status = checkSources(session, step, error))
    return status;
  if (FerriteStatus status = checkLayers(session, step, error))
    return status;
  if (FerriteStatus status = checkWeighed(step, error))
    return status;
  step.data<int64_t>("slots");
  int64_t tokens = step.size;
  const auto *rows = step.data<int64_t>("logit_rows");
  for (int64_t i = 0; i < step.size; ++i)
    if (rows[i] < 0 || rows[i] >= tokens)
      return fail(error, FERRITE_INVALID_ARGUMENT,
                  "'logit_rows' holds %lld at [%lld], outside of %lld tokens",
                  ll(rows[i]), ll(i), ll(tokens));
  return FERRITE_OK;
}
