package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

const provisioner = "cluster.test/hostpath"

// volumes binds each claim of one StorageClass to a directory of this machine, and removes both with the claim.
type volumes struct {
	client kubernetes.Interface
	dir    string
	class  string
}

func runVolumes(args []string) error {
	flags := flag.NewFlagSet("volumes", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig file")
	dir := flags.String("dir", "", "directory that holds the volumes")
	class := flags.String("storage-class", "", "StorageClass whose claims are served")
	_ = flags.Parse(args)

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	v := &volumes{client: client, dir: *dir, class: *class}

	factory := informers.NewSharedInformerFactory(client, 0)
	claims := factory.Core().V1().PersistentVolumeClaims()
	pvs := factory.Core().V1().PersistentVolumes()
	changed := make(chan struct{}, 1)
	wake := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: wake, UpdateFunc: func(_, o any) { wake(o) }, DeleteFunc: wake}
	for _, informer := range []cache.SharedIndexInformer{claims.Informer(), pvs.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	ctx := context.Background()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	// Every change, and every few seconds what failed before, is answered by looking at all of them: there are few.
	retry := time.NewTicker(5 * time.Second)
	for {
		all, err := claims.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		for _, claim := range all {
			if err := v.provision(ctx, claim); err != nil {
				klog.Errorf("claim %s/%s: %v", claim.Namespace, claim.Name, err)
			}
		}
		existing, err := pvs.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		for _, pv := range existing {
			if err := v.remove(ctx, pv); err != nil {
				klog.Errorf("volume %s: %v", pv.Name, err)
			}
		}
		select {
		case <-changed:
		case <-retry.C:
		}
	}
}

// provision makes the volume of a claim that has none.
func (v *volumes) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	spec := claim.Spec
	if claim.Status.Phase != corev1.ClaimPending || spec.VolumeName != "" || claim.DeletionTimestamp != nil ||
		spec.StorageClassName == nil || *spec.StorageClassName != v.class {
		return nil
	}
	name := "pvc-" + string(claim.UID)
	path := filepath.Join(v.dir, name)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	// Any user of a pod may write: hostPath knows no fsGroup. Chmod, because of the umask.
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	_, err := v.client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": provisioner},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: spec.Resources.Requests[corev1.ResourceStorage]},
			AccessModes:                   spec.AccessModes,
			VolumeMode:                    spec.VolumeMode,
			StorageClassName:              v.class,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
		},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		klog.Infof("claim %s/%s: volume %s", claim.Namespace, claim.Name, name)
	}
	return err
}

// remove deletes a volume of ours whose claim is gone.
func (v *volumes) remove(ctx context.Context, pv *corev1.PersistentVolume) error {
	if pv.Status.Phase != corev1.VolumeReleased || pv.Annotations["pv.kubernetes.io/provisioned-by"] != provisioner ||
		pv.DeletionTimestamp != nil || pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		return nil
	}
	path := filepath.Join(v.dir, pv.Name)
	if pv.Spec.HostPath == nil || pv.Spec.HostPath.Path != path {
		return fmt.Errorf("is not at %s: left alone", path)
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	err := v.client.CoreV1().PersistentVolumes().Delete(ctx, pv.Name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
