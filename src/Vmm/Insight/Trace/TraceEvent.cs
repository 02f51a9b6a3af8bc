using Vmm.Insight.Profile;

namespace Vmm.Insight.Trace;

/// <summary>Something that took time on a track. Times are Stopwatch timestamps and nanoseconds.</summary>
/// <param name="Start">When KVM_RUN was entered, or the handler called.</param>
/// <param name="InKvm">How long KVM_RUN took; 0 where it is about something else.</param>
/// <param name="InVmm">How long vmm took for it afterwards.</param>
/// <param name="Row">What the exit was about; null where it is none.</param>
/// <param name="Name">What it was, where it is no exit.</param>
internal readonly record struct TraceEvent(long Start, long InKvm, long InVmm, ExitRow? Row, string? Name);
