use super::*;

fn write(file: &dyn File, offset: u64, bytes: &[u8], dsync: bool) {
    file.write_at(&[IoSlice::new(bytes)], offset, dsync)
        .unwrap();
}

#[test]
fn a_power_cut_loses_what_was_not_synced_in_any_choice() {
    let fs = MemoryFs::new(1);
    let path = Path::new("/d/file");
    let file = fs.open(path, OpenMode::CreateNew).unwrap();
    write(&*file, 0, &[1; 1024], true);
    fs.sync_dir(Path::new("/d")).unwrap();
    write(&*file, 256, &[2; 512], false);
    write(&*file, 256, &[3; 8], false);
    assert_eq!(fs.unsynced().len(), 2);
    let none = fs.crash(&mut |_, _| 0).contents(path).unwrap();
    assert_eq!(none, [1; 1024]);
    let middle = fs
        .crash(&mut |_, count| count.min(1))
        .contents(path)
        .unwrap();
    assert_eq!(middle[250..270], [[1; 6].as_slice(), &[2; 14]].concat());
    let all = fs.crash(&mut |_, count| count).contents(path).unwrap();
    assert_eq!(all, fs.contents(path).unwrap());
    file.sync_data().unwrap();
    assert!(fs.unsynced().is_empty());
}

#[test]
fn a_name_is_durable_after_a_sync_of_its_directory() {
    let fs = MemoryFs::new(1);
    let (a, b) = (Path::new("/d/a"), Path::new("/d/b"));
    fs.open(a, OpenMode::CreateNew).unwrap();
    assert!(fs.crash(&mut |_, _| 0).contents(a).is_none());
    fs.sync_dir(Path::new("/d")).unwrap();
    fs.rename(a, b).unwrap();
    assert!(fs.crash(&mut |_, _| 0).contents(a).is_some());
    assert_eq!(fs.list(Path::new("/d")).unwrap(), ["b"]);
}

#[test]
fn after_a_failed_sync_the_next_one_succeeds_falsely() {
    let fs = MemoryFs::new(1);
    let path = Path::new("/d/file");
    let file = fs.open(path, OpenMode::CreateNew).unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    write(&*file, 0, &[1; 512], true);
    write(&*file, 0, &[2; 512], false);
    fs.fail(Operation::Sync, 1, ErrorKind::Other);
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(fs.contents(path).unwrap(), [2; 512]);
    assert_eq!(fs.crash(&mut |_, _| 0).contents(path).unwrap(), [1; 512]);
    file.drop_cache().unwrap();
    assert_eq!(fs.contents(path).unwrap(), [1; 512]);
}

#[test]
fn a_full_disk_refuses_growth_but_not_overwriting() {
    let fs = MemoryFs::new(1);
    let file = fs.open(Path::new("/d/file"), OpenMode::CreateNew).unwrap();
    fs.set_capacity(Some(100));
    write(&*file, 0, &[1; 100], false);
    write(&*file, 50, &[1; 50], false);
    let error = file
        .write_at(&[IoSlice::new(&[1])], 100, false)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
}

#[test]
fn a_recording_keeps_the_disk_at_every_moment_at_which_the_power_may_go() {
    let fs = MemoryFs::new(1);
    let path = Path::new("/d/file");
    fs.record();
    let file = fs.open(path, OpenMode::CreateNew).unwrap();
    write(&*file, 0, &[1; 512], true);
    fs.sync_dir(Path::new("/d")).unwrap();
    let moments = fs.recorded();
    let found = |choice: usize| {
        let disks = moments
            .iter()
            .map(|disk| disk.crash(&mut |_, newest| newest.min(choice)));
        disks
            .map(|disk| disk.contents(path).map(|bytes| bytes.len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(found(1), [Some(0), Some(512), Some(512), Some(512)]);
    assert_eq!(found(0), [None, None, None, Some(512)]);
    assert_ne!(moments[0].fingerprint(), moments[1].fingerprint());
    assert_eq!(moments[1].fingerprint(), moments[3].fingerprint());
    assert!(fs.recorded().is_empty());
}
