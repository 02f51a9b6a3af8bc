namespace Vmm.Host;

/// <summary>Looks at what the event loop does.</summary>
internal interface ILoopObserver
{
    /// <summary>A handler has run, on the loop's thread.</summary>
    /// <param name="start">A Stopwatch timestamp.</param>
    /// <param name="duration">Nanoseconds.</param>
    void Handled(string name, long start, long duration);
}
