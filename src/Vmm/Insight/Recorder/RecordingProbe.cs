using Vmm.Kvm;

namespace Vmm.Insight.Recorder;

/// <summary>Writes all down.</summary>
internal readonly struct RecordingProbe(ExitRecorder recorder) : IExitProbe
{
    public void Begin() => recorder.Begin();

    public void Left() => recorder.Left();

    public void Handled() => recorder.Handled();

    public void Interrupted(int errno) => recorder.Interrupted(errno);
}
