// Large BOSS files out of a small one, and ROOT reading them: the ROOT side of benchmarks/dst_files.py, which compiles
// this with the classes that ROOT makes of the small file's own description of them.

#include <algorithm>
#include <cmath>
#include <ctime>
#include <map>
#include <string>
#include <vector>

#include "TBranch.h"
#include "TClass.h"
#include "TFile.h"
#include "TObjArray.h"
#include "TRandom3.h"
#include "TStreamerElement.h"
#include "TStreamerInfo.h"
#include "TTree.h"
#include "bossProjectHeaders.h"

namespace {

struct Event {
  TEvtHeader* header = nullptr;
  TEvtNavigator* navigator = nullptr;
  TMcEvent* truth = nullptr;
  TDstEvent* dst = nullptr;
  TEvtRecObject* rec = nullptr;

  void read_from(TTree* tree) {
    tree->SetBranchAddress("TEvtHeader", &header);
    tree->SetBranchAddress("EventNavigator", &navigator);
    tree->SetBranchAddress("TMcEvent", &truth);
    tree->SetBranchAddress("TDstEvent", &dst);
    tree->SetBranchAddress("TEvtRecObject", &rec);
  }
};

enum Kind { kMdc, kKal, kDedx, kExt, kTof, kEmc, kMuc, kLink, kVee, kParticle, kKinds };

// The collection of a kind; none of an event that was read in part.
TObjArray* collection(const Event& e, int kind) {
  if (kind == kParticle) return e.truth ? e.truth->m_mcParticleCol : nullptr;
  if (kind == kLink) return e.rec ? e.rec->m_evtRecTrackCol : nullptr;
  if (kind == kVee) return e.rec ? e.rec->m_evtRecVeeVertexCol : nullptr;
  if (!e.dst) return nullptr;
  TObjArray* of_dst[] = {e.dst->m_mdcTrackCol, e.dst->m_mdcKalTrackCol, e.dst->m_mdcDedxCol, e.dst->m_extTrackCol,
                         e.dst->m_tofTrackCol, e.dst->m_emcTrackCol,    e.dst->m_mucTrackCol};
  return of_dst[kind];
}

// Which member of which record numbers a record of which collection; negative numbers mean none.
struct Number {
  int of;
  const char* member;
  int to;
};
const Number kNumbers[] = {
    {kMdc, "m_trackId", kMdc},           {kKal, "m_trackId", kMdc},         {kDedx, "m_trackId", kMdc},
    {kExt, "m_trackId", kMdc},           {kMuc, "m_trackId", kMdc},         {kTof, "m_trackID", kMdc},
    {kEmc, "m_trackId", kEmc},           {kLink, "m_mdcTrackId", kMdc},     {kLink, "m_mdcKalTrackId", kKal},
    {kLink, "m_mdcDedxId", kDedx},       {kLink, "m_extTrackId", kExt},     {kLink, "m_emcShowerId", kEmc},
    {kLink, "m_mucTrackId", kMuc},       {kParticle, "m_trackIndex", kParticle}, {kParticle, "m_mother", kParticle}};
const Number kLists[] = {{kLink, "m_tofTrackIds", kTof}, {kParticle, "m_daughters", kParticle}};

template <typename T>
T& member(TObject* object, const char* name) {
  return *reinterpret_cast<T*>(reinterpret_cast<char*>(object) + object->IsA()->GetDataMemberOffset(name));
}

void shift(int& number, int by) {
  if (number >= 0) number += by;
}

void shift(std::multimap<int, int>& into, const std::multimap<int, int>& pairs, int keys, int values) {
  for (const auto& pair : pairs) {
    int key = pair.first, value = pair.second;
    shift(key, keys);
    shift(value, values);
    into.emplace(key, value);
  }
}

// Lay event b over event a: all records of both, with the links of b's leading to b's.
void overlay(Event& a, const Event& b) {
  int before[kKinds];
  for (int kind = 0; kind < kKinds; ++kind) {
    before[kind] = collection(a, kind)->GetEntriesFast();
    for (TObject* object : *collection(b, kind)) collection(a, kind)->Add(object->Clone());
  }
  const auto added = [&](int kind) {
    std::vector<TObject*> objects;
    for (int i = before[kind]; i < collection(a, kind)->GetEntriesFast(); ++i) objects.push_back(collection(a, kind)->At(i));
    return objects;
  };
  for (const auto& n : kNumbers)
    for (auto* object : added(n.of)) shift(member<int>(object, n.member), before[n.to]);
  for (const auto& n : kLists)
    for (auto* object : added(n.of))
      for (int& number : member<std::vector<int>>(object, n.member)) shift(number, before[n.to]);
  shift(a.navigator->m_mcMdcTracks, b.navigator->m_mcMdcTracks, before[kParticle], before[kMdc]);
  shift(a.navigator->m_mcEmcRecShowers, b.navigator->m_mcEmcRecShowers, before[kParticle], before[kEmc]);
  // BOSS lists the charged tracks first.
  std::vector<TObject*> links;
  for (TObject* link : *collection(a, kLink)) links.push_back(link);
  std::stable_partition(links.begin(), links.end(), [](TObject* l) { return member<int>(l, "m_mdcTrackId") >= 0; });
  collection(a, kLink)->Clear();
  for (auto* link : links) {
    member<int>(link, "m_trackId") = collection(a, kLink)->GetEntriesFast();
    collection(a, kLink)->Add(link);
  }
  for (const char* name : {"m_tottks", "m_nchrg", "m_nneu", "m_nvee"})
    member<int>(a.rec->m_evtRecEvent, name) += member<int>(b.rec->m_evtRecEvent, name);
}

// Where a class has floating point numbers: byte, how many, whether they are double.
struct Numbers {
  int offset, n;
  bool is_double;
};
const std::vector<Numbers>& numbers_of(TObject* object) {
  static std::map<TClass*, std::vector<Numbers>> known;
  auto [place, is_new] = known.try_emplace(object->IsA());
  if (is_new)
    for (TObject* item : *static_cast<TStreamerInfo*>(object->IsA()->GetStreamerInfo())->GetElements()) {
      auto* element = static_cast<TStreamerElement*>(item);
      const int type = element->GetType() % TStreamerInfo::kOffsetL;
      if (type == TStreamerInfo::kDouble || type == TStreamerInfo::kFloat)
        place->second.push_back({element->GetOffset(), std::max(1, element->GetArrayLength()), type == TStreamerInfo::kDouble});
    }
  return place->second;
}

// Scale all measured numbers by one factor. What is whole stays, and so does what was a float in a double: zlib counts.
void scale(TObject* object, double factor) {
  for (const auto& found : numbers_of(object))
    for (int i = 0; i < found.n; ++i) {
      char* at = reinterpret_cast<char*>(object) + found.offset + i * (found.is_double ? sizeof(double) : sizeof(float));
      double value = found.is_double ? *reinterpret_cast<double*>(at) : *reinterpret_cast<float*>(at);
      if (!std::isfinite(value) || value == std::round(value)) continue;
      const bool is_float = !found.is_double || static_cast<double>(static_cast<float>(value)) == value;
      value *= factor;
      if (is_float) value = static_cast<float>(value);
      if (found.is_double) *reinterpret_cast<double*>(at) = value;
      else *reinterpret_cast<float*>(at) = static_cast<float>(value);
    }
}

void clear(Event& e) {
  for (int kind = 0; kind < kKinds; ++kind)
    if (auto* objects = collection(e, kind)) objects->Delete();
}

void forget_truth(Event& e) {
  e.header->m_runId = std::abs(e.header->m_runId);
  e.truth->m_mcParticleCol->Delete();
  e.navigator->m_mcMdcTracks.clear();
  e.navigator->m_mcEmcRecShowers.clear();
}

}  // namespace

// Write n events drawn from the source, a part of them two or three laid over each other; flush as TTree's SetAutoFlush.
long make_file(const char* source, const char* target, long n, double two, double three, bool is_data, long flush, int seed) {
  TRandom3 random(seed);
  TFile first(source), second(source);
  auto* tree = first.Get<TTree>("Event");
  auto* other = second.Get<TTree>("Event");
  Event event, added;
  event.read_from(tree);
  added.read_from(other);
  TFile out(target, "RECREATE", "", first.GetCompressionSettings());
  auto* written = tree->CloneTree(0);
  written->SetAutoFlush(flush);
  for (long i = 0; i < n; ++i) {
    tree->GetEntry(random.Integer(tree->GetEntries()));
    const double u = random.Rndm();
    for (int more = (u < two + three) + (u < three); more > 0; --more) {
      other->GetEntry(random.Integer(other->GetEntries()));
      overlay(event, added);
      clear(added);
    }
    event.header->m_eventId = i;
    if (is_data) forget_truth(event);
    const double factor = random.Uniform(0.99, 1.01);
    for (int kind = 0; kind < kKinds; ++kind)
      for (TObject* object : *collection(event, kind)) scale(object, factor);
    scale(event.rec->m_evtRecPrimaryVertex, factor);
    written->Fill();
    clear(event);
  }
  written->Write();
  if (auto* jobs = first.Get<TTree>("JobInfoTree")) jobs->CloneTree(-1)->Write();
  out.Close();
  return n;
}

// Write the events again with a compression (ROOT's algorithm * 100 + level): with half of them under an earlier cycle, in
// a directory of the file, or none of them; whatever else the form is, as they are.
long copy_file(const char* source, const char* target, const std::string& form, int compression) {
  TFile in(source);
  auto* tree = in.Get<TTree>("Event");
  TFile out(target, "RECREATE", "", compression);
  TDirectory* place = form == "directory" ? out.mkdir("sub") : &out;
  place->cd();
  Event event;
  event.read_from(tree);
  auto* written = tree->CloneTree(0);
  const long n = form == "empty" ? 0 : tree->GetEntries();
  for (long i = 0; i < n; ++i) {
    clear(event);
    tree->GetEntry(i);
    written->Fill();
    if (form == "cycles" && i == n / 2) place->WriteTObject(written);
  }
  written->Write();
  out.Close();
  return n;
}

// Return the processor seconds of ROOT reading the named branches of every event, separated by blanks.
double read_branches(const char* path, const std::string& names) {
  TFile file(path);
  auto* tree = file.Get<TTree>("Event");
  tree->SetBranchStatus("*", false);
  for (size_t start = 0, end; start < names.size(); start = end + 1) {
    end = std::min(names.find(' ', start), names.size());
    tree->SetBranchStatus(names.substr(start, end - start).c_str(), true);
  }
  Event event;
  event.read_from(tree);
  tree->GetEntry(0);
  const std::clock_t begin = std::clock();
  for (long i = 0; i < tree->GetEntries(); ++i) {
    clear(event);
    tree->GetEntry(i);
  }
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}
